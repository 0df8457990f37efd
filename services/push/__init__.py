"""Push: tells users over WebSockets what changes for them, on whichever instance they are."""
