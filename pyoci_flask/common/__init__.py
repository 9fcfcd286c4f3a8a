"""Code that several layers share. It imports none of them."""
