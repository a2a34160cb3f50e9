"""A page in the browser: drop a video or an image, see it before and after, download it. Needs the extra ``ui``."""
from .app import build_app, restore_upload, serve

__all__ = ['build_app', 'restore_upload', 'serve']
