#!/usr/bin/env python3
"""Serve a Shiny app on N sticky workers: ``python launcher.py config.yaml``."""

from shiny_sticky.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
