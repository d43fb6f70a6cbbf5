"""What uses a site from outside."""
