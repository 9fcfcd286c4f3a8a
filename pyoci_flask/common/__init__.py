"""What several layers share; it imports none of them."""
