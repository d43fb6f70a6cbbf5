"""The web server before the workers: nginx, its configuration, and its processes."""
