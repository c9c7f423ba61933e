"""``python -m follicle_stager.cli``."""

from follicle_stager.cli import main

if __name__ == "__main__":
    main()
