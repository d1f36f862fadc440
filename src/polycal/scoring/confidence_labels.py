"""The word before a stated confidence in each language, for localised prompts.

It is beside ``prompt_labels``, on which also results without a stated confidence depend.
"""

CONFIDENCE: dict[str, str] = {
    "af": "Vertroue",
    "ar": "الثقة",
    "bn": "আত্মবিশ্বাস",
    "cs": "Jistota",
    "de": "Sicherheit",
    "en": "Confidence",
    "es": "Confianza",
    "fr": "Confiance",
    "hi": "विश्वास",
    "hu": "Bizonyosság",
    "id": "Keyakinan",
    "it": "Sicurezza",
    "ja": "確信度",
    "ko": "확신도",
    "mr": "विश्वास",
    "ne": "विश्वास",
    "pt": "Confiança",
    "ru": "Уверенность",
    "sr": "Сигурност",
    "sw": "Uhakika",
    "te": "విశ్వాసం",
    "th": "ความมั่นใจ",
    "uk": "Впевненість",
    "ur": "اعتماد",
    "vi": "Độ tin cậy",
    "wo": "Kóolute",
    "yo": "Ìdánilójú",
    "zh": "置信度",
    "zu": "Ukuqiniseka",
}
"""Language code → the word before a stated confidence, for the languages of ``prompt_labels``. No speaker has reviewed them."""
