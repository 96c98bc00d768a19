"""Speech made by the program eSpeak NG, with the phonemes that it says: a small data set for text-to-speech."""
