"""The atoms that come with Asgard."""
