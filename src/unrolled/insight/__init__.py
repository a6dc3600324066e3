"""What happens inside a recurrence: where its gradient goes, what its gates do."""
