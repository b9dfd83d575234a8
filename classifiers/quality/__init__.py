"""Labels for the quality of documents: what they are, how a student learns them, how well it agrees with a teacher."""
