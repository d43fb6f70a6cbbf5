"""What stands between uvicorn and the app; :mod:`.stack` has the order."""
