"""Where Stripe posts to: ``/stripe/webhook/<uuid>/``."""

from django.urls import include, path

urlpatterns = [path("stripe/", include("djstripe.urls", namespace="djstripe"))]
