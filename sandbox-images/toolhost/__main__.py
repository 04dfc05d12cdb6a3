"""Entry point: `python3 -I -S <this directory>`. Kept tiny because it alone is compiled at every start."""

from main import main

main()
