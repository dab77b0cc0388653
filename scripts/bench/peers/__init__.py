"""Other ways of making feature images, each behind one function that takes a `Task`."""
