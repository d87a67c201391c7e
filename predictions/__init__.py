"""What people see: uploaded images, the model's answers, corrections; their pages, their API and their queue."""
