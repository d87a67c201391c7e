"""Addresses of the API and the pages."""

from django.urls import include, path, re_path
from rest_framework.routers import SimpleRouter

from predictions import account, media, model_views, views
from predictions.api import LabelRuleViewSet, PredictionViewSet
from predictions.model_api import ModelVersionViewSet
from predictions.protocols.huggingface import ClassifyView
from predictions.protocols.open_inference import InferView, ModelReadyView, ModelView, ServerView

router = SimpleRouter()
router.register("predictions", PredictionViewSet, basename="prediction")
router.register("label-rules", LabelRuleViewSet, basename="label-rule")
router.register("models", ModelVersionViewSet, basename="model")

MODEL = "v2/models/<str:name>"
VERSION = f"{MODEL}/versions/<str:version>"

urlpatterns = [
    path("", views.upload, name="upload"),
    path("gallery/", views.gallery, name="gallery"),
    path("gallery/<int:pk>/", views.detail, name="detail"),
    path("gallery/<int:pk>/card", views.card, name="card"),
    path("gallery/<int:pk>/image", media.original, name="image"),
    path("gallery/<int:pk>/view", media.view, name="view"),
    path("gallery/<int:pk>/thumbnail", media.thumbnail, name="thumbnail"),
    path("gallery/change", views.change, name="change"),
    path("gallery/undo/<uuid:batch>", views.undo, name="undo"),
    path("labels", views.labels, name="labels"),
    path("dashboard/", views.dashboard, name="dashboard"),
    path("dashboard/models/", model_views.models, name="models"),
    path("dashboard/models/change", model_views.change, name="change_model"),
    path("dashboard/models/compare/", model_views.compare, name="compare"),
    path("account/", account.account, name="account"),
    path("account/<slug:digest>/revoke", account.revoke, name="revoke"),
    re_path("^v2/?$", ServerView.as_view(), name="v2"),
    path(MODEL, ModelView.as_view(), name="v2-model"),
    path(VERSION, ModelView.as_view(), name="v2-version"),
    path(f"{MODEL}/ready", ModelReadyView.as_view(), name="v2-model-ready"),
    path(f"{VERSION}/ready", ModelReadyView.as_view(), name="v2-version-ready"),
    path(f"{MODEL}/infer", InferView.as_view(), name="v2-model-infer"),
    path(f"{VERSION}/infer", InferView.as_view(), name="v2-version-infer"),
    path("classify", ClassifyView.as_view(), name="classify"),
    path("", include(router.urls)),
]
