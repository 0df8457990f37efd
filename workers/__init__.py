"""Background work: a Celery app, its tasks, and what feeds it."""
