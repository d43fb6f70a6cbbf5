"""A chat whose answers come word by word."""

import asyncio

from shiny import App, Inputs, Outputs, Session, render, ui

app_ui = ui.page_fillable(ui.chat_ui("chat", greeting="What do you want to know?"), ui.output_text("messages"))


def server(input: Inputs, output: Outputs, session: Session):
    chat = ui.Chat("chat")

    @chat.on_user_submit
    async def answer(question: str):
        async def words():
            for word in f"You have asked **{question}** and that is all".split(" "):
                yield f"{word} "
                await asyncio.sleep(0.3)

        await chat.append_message_stream(words())

    @render.text
    def messages():
        return f"{len(chat.messages())} messages"


app = App(app_ui, server)
