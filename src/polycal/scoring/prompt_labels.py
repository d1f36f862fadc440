"""The words for "question" and "answer" in each language, for localised prompts.

This module imports nothing, so that the configuration can check languages without loading a model library.
"""

Labels = tuple[str, str]
"""The word before the question, and the word before the answer."""

ENGLISH: Labels = ("", "Answer")
"""The English wording has no word before the question."""

LABELS: dict[str, Labels] = {
    "af": ("Vraag", "Antwoord"),
    "ar": ("السؤال", "الإجابة"),
    "bn": ("প্রশ্ন", "উত্তর"),
    "cs": ("Otázka", "Odpověď"),
    "de": ("Frage", "Antwort"),
    "en": ("Question", "Answer"),
    "es": ("Pregunta", "Respuesta"),
    "fr": ("Question", "Réponse"),
    "hi": ("प्रश्न", "उत्तर"),
    "hu": ("Kérdés", "Válasz"),
    "id": ("Pertanyaan", "Jawaban"),
    "it": ("Domanda", "Risposta"),
    "ja": ("質問", "回答"),
    "ko": ("질문", "답변"),
    "mr": ("प्रश्न", "उत्तर"),
    "ne": ("प्रश्न", "उत्तर"),
    "pt": ("Pergunta", "Resposta"),
    "ru": ("Вопрос", "Ответ"),
    "sr": ("Питање", "Одговор"),
    "sw": ("Swali", "Jibu"),
    "te": ("ప్రశ్న", "సమాధానం"),
    "th": ("คำถาม", "คำตอบ"),
    "uk": ("Питання", "Відповідь"),
    "ur": ("سوال", "جواب"),
    "vi": ("Câu hỏi", "Trả lời"),
    "wo": ("Laaj", "Tontu"),
    "yo": ("Ìbéèrè", "Ìdáhùn"),
    "zh": ("问题", "答案"),
    "zu": ("Umbuzo", "Impendulo"),
}
"""Language code → labels, for the languages of MMLU-ProX. No speaker of the languages has reviewed them."""
