"""What a training learns from: subjects, their photos and captions, pictures of the class."""
