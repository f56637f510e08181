"""What keeps a run: the devices it works on, its averages, its states, its folder and its end."""
