"""From red cases to masks that fix them: searched for, verified, and their cost measured."""
