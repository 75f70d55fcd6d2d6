import sys

from runtimes.run import main

sys.exit(main(sys.argv[1:]))
