"""`python -m pyoci_flask`: the command line, where its script is not on the path."""

from pyoci_flask.cli.main import main

main()
