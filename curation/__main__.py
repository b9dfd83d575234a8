"""`python -m curation`, as in `ray job submit --working-dir . -- python -m curation run web`."""

from curation.cli import main

if __name__ == "__main__":
    main()
