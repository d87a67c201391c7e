"""Addresses of the API and the pages."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from predictions import account, media, views
from predictions.api import LabelRuleViewSet, PredictionViewSet

router = SimpleRouter()
router.register("predictions", PredictionViewSet, basename="prediction")
router.register("label-rules", LabelRuleViewSet, basename="label-rule")

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
    path("account/", account.account, name="account"),
    path("account/<slug:digest>/revoke", account.revoke, name="revoke"),
    path("", include(router.urls)),
]
