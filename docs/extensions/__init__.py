"""What the documentation is made of beside text: help of commands, pictures, references."""
