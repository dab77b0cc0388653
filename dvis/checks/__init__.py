"""Does a store keep its promises: what each kind of group must hold."""
