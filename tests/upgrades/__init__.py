"""What versions leave behind for those after them."""
