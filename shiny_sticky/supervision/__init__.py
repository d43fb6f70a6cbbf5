"""What keeps processes: workers, the processes that they are forked off, deploys, the control channel."""
