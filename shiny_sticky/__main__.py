"""``python -m shiny_sticky`` is the command ``shiny-sticky``."""

from shiny_sticky.cli import main

raise SystemExit(main())
