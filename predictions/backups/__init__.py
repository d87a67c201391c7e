"""Backups: the database, the media and the models, as they were together."""
