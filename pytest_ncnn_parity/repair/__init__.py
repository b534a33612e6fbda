"""From red cases to masks that cure them: searched for, verified, and their cost measured."""
