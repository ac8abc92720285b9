"""What the program knows of its own condition: database, queue, certificate, disk, processes."""
