"""Phones of all voices as ARPAbet, and runs of symbols as intervals."""
import re

ARPABET = {
    "ɑ": "AA", "ɑː": "AA", "ɒ": "AA", "aː": "AA", "æ": "AE", "a": "AE", "ʌ": "AH", "ə": "AX", "ɐ": "AX", "ᵊ": "AX",
    "ɔ": "AO", "ɔː": "AO", "oː": "AO", "aʊ": "AW", "W": "AW", "aɪ": "AY", "I": "AY", "ɛ": "EH", "e": "EH", "ɜː": "ER",
    "ɜ": "ER", "ɚ": "ER", "eɪ": "EY", "A": "EY", "ɪ": "IH", "ᵻ": "IH", "i": "IY", "iː": "IY", "oʊ": "OW", "əʊ": "OW",
    "O": "OW", "Q": "OW", "ɔɪ": "OY", "Y": "OY", "ʊ": "UH", "u": "UW", "uː": "UW", "b": "B", "tʃ": "CH", "ʧ": "CH",
    "d": "D", "ð": "DH", "f": "F", "ɡ": "G", "g": "G", "h": "HH", "dʒ": "JH", "ʤ": "JH", "k": "K", "l": "L", "m": "M",
    "n": "N", "ŋ": "NG", "p": "P", "ɹ": "R", "r": "R", "s": "S", "ʃ": "SH", "t": "T", "ɾ": "DX", "θ": "TH", "v": "V",
    "w": "W", "j": "Y", "z": "Z", "ʒ": "ZH",
}
SILENCES = ("pau", "h#", "brth", "sil", "", " ", "_")


def arpabet_of_ipa(symbol):
    plain = symbol.replace("ˈ", "").replace("ˌ", "")
    if plain in SILENCES or not re.search(r"\w", plain):
        return "SIL"
    return ARPABET.get(plain) or ARPABET.get(plain.rstrip("ː")) or ARPABET.get(plain[0], "?")


def arpabet_of_festival(symbol):
    return "SIL" if symbol in SILENCES else symbol.upper()


def intervals(symbols, seconds_per_frame):
    """(symbol, frames) to [start, end, symbol].

    A mark of stress belongs to what follows, one of length to what went before; punctuation is silence.
    """
    found, now, carried = [], 0.0, 0.0
    for symbol, n_frames in symbols:
        length = n_frames * seconds_per_frame
        if symbol in "ˈˌ":
            carried += length
        elif symbol in "ː̩̃ʲ" and found:
            found[-1][1] = now + length
            found[-1][2] += symbol
        elif symbol in "^$ ,.;:!?—…\"'()":
            if found and found[-1][2] == "sil":
                found[-1][1] = now + length
            else:
                found.append([now, now + length, "sil"])
        else:
            found.append([now - carried, now + length, symbol])
            carried = 0.0
        now += length
    if carried and found:
        found[-1][1] = now
    return found
