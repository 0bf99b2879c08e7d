"""The files that run and watch Sluice: compose, image, Jaeger, Prometheus, alerts, dashboard."""
