"""A user's own ratings (a table, an export, annotations on a time line, a `datasets` set), read as a corpus."""
