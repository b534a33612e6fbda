"""Small networks, one for each construct that people use, and what numpy says they give."""
