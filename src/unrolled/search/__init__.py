"""From a network's scores to an answer: beam search, CTC, transducer, and an n-gram model that guides them."""
