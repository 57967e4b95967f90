"""What stands on two sides of a split: people, sentences, dialogues and recordings that occur twice."""
