-- Beside the database of development, which PostgreSQL's image makes itself.
CREATE DATABASE classification_test;
