"""Addresses of the API and the pages."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from predictions import views
from predictions.api import PredictionViewSet

router = SimpleRouter()
router.register("predictions", PredictionViewSet, basename="prediction")

urlpatterns = [
    path("", views.upload, name="upload"),
    path("gallery/", views.gallery, name="gallery"),
    path("gallery/<int:pk>/", views.detail, name="detail"),
    path("gallery/<int:pk>/image", views.image, name="image"),
    path("", include(router.urls)),
]
