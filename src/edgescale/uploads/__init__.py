"""Uploads: files on their way into the blob store, and the store itself."""
