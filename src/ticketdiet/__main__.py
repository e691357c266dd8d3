"""``python -m ticketdiet`` is the command line."""

from ticketdiet.cli.main import main

if __name__ == "__main__":
    main()
