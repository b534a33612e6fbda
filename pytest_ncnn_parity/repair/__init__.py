"""Red cases and the masks that make them right: searched for, proven, priced."""
