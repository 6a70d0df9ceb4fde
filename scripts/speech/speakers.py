"""Who speaks: voices at several pitches and speeds, and blends of two. Those of `dev` are never in `train`."""
import random

# How much of a corpus each engine gets where all are asked for.
SHARES = {"flite": 0.22, "festival": 0.12, "espeak": 0.14, "pico": 0.10, "piper": 0.10, "kokoro": 0.32}

FLITE = [
    ("slt", 0.95, None), ("slt", 1.15, 190), ("rms", 0.9, None), ("rms", 1.1, 115), ("awb", 1.0, None),
    ("awb", 0.85, 150), ("kal16", 1.0, None), ("kal16", 1.1, 140),
]
ESPEAK = [
    "en-us+m1", "en-us+m3", "en-us+f1", "en-us+f3", "en-us+f4", "en-us+m7", "en-gb+f2", "en-gb+m4",
    "en-gb-scotland+m2", "en-gb-x-rp+f5", "en-029+m5", "en-us+iven", "en-us+Annie", "en-us+steph",
]
KOKORO = [
    "af_heart", "af_bella", "af_nova", "af_sarah", "af_sky", "af_kore", "af_aoede", "af_alloy", "af_jessica",
    "af_river", "am_michael", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_onyx", "am_puck",
    "bf_alice", "bf_emma", "bf_lily", "bm_daniel", "bm_fable", "bm_lewis",
]
KOKORO_DEV = ["bm_george", "af_nicole", "bf_isabella", "am_santa"]
N_BLENDS = 12


def speakers(seed):
    """Each a dictionary with `id`, `engine`, `part`, `voice` and what the engine takes."""
    found = []

    def add(engine, part, voice, **settings):
        found.append({"id": str(1001 + len(found)), "engine": engine, "part": part, "voice": voice, **settings})

    for voice, stretch, pitch in FLITE:
        add("flite", "train", voice, stretch=stretch, pitch=pitch)
    for part, voice in (("train", "kal_diphone"), ("train", "cmu_us_slt_arctic_hts"), ("dev", "ked_diphone")):
        add("festival", part, voice, stretch=1.05)
    for nth, voice in enumerate(ESPEAK):
        add("espeak", "train", voice, rate=[140, 160, 175, 185][nth % 4], pitch=[35, 45, 55, 65][nth * 3 % 4])
    add("espeak", "dev", "en-us+m6", rate=165, pitch=50)
    for voice, speed, pitch in (("en_US", 1.0, 1.0), ("en_US", 0.9, 0.85), ("en_GB", 1.0, 1.0)):
        add("pico", "train", voice, speed=speed, pitch=pitch)
    for stretch in (0.95, 1.15):
        add("piper", "train", "joe", stretch=stretch)
    for nth, voice in enumerate(KOKORO):
        add("kokoro", "train", voice, mix=[voice], british=voice[0] == "b", speed=[1.0, 0.9, 1.1][nth % 3])
    draw = random.Random(seed)
    for nth in range(N_BLENDS):
        pair = draw.sample([voice for voice in KOKORO if voice[1] == "mf"[nth % 2]], 2)
        british = all(voice[0] == "b" for voice in pair)
        add("kokoro", "train", "+".join(pair), mix=pair, british=british, speed=1.0)
    for voice in KOKORO_DEV:
        add("kokoro", "dev", voice, mix=[voice], british=voice[0] == "b", speed=1.0)
    return found
