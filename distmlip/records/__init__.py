"""What a calculation says of itself: what it will do, what it took, how exact it is."""
