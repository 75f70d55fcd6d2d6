"""The three forms of a file in other runtimes: which takes which, and what comes out."""
