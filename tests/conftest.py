"""What holds for every tier."""

import signal

# A shell ignores SIGINT for what it starts in the background, and children inherit that. Tests that interrupt a
# workflow as Ctrl-C does need the signal to arrive.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
