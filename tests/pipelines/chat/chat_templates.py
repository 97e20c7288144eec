"""Chat templates in the manner of the public families, each with what is its own about it."""

from __future__ import annotations

CHATML = """{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

# A default system prompt, and tools that nobody has given.
QWEN_2 = """{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n' }}
    {%- for tool in tools %}{{- tool | tojson }}{%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' or message.role == 'assistant' %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

# Leaves thinking out of all answers but those behind the last question.
QWEN_3 = """{%- set ns = namespace(last=-1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if ns.last < 0 and message.role == 'user' and message.content is string %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'assistant' %}
        {%- set thought = '' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1] %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if thought and loop.index0 > ns.last %}
            {%- set content = '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content %}
        {%- endif %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

LLAMA_2 = """{% if messages[0]['role'] == 'system' %}{% set talk = messages[1:] %}
{% set system = messages[0]['content'] %}{% else %}{% set talk = messages %}
{% set system = false %}{% endif %}{% for message in talk %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{% endif %}{% if loop.index0 == 0 and system != false %}
{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}
{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}
{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"""

LLAMA_3 = """{% for message in messages %}
{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'
    + message['content'] | trim + '<|eot_id|>' %}
{{ (bos_token if loop.first else '') + content }}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{% endif %}"""

# The day, tools that must be none and not only undefined, and what is set beforehand.
LLAMA_31 = """{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not date_string is defined %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}{%- set system_message = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

# The system's words stand in the last question.
MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}{%- set loop_messages = messages %}{%- endif %}
{%- if not tools is defined %}{%- set tools = none %}{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and loop.last %}{{- "[AVAILABLE_TOOLS]" }}{%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}{{- "[INST] " + message["content"] + "[/INST]" }}{%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token }}
    {%- else %}{{- raise_exception("Only user and assistant roles are supported!") }}
    {%- endif %}
{%- endfor %}"""

# Refuses the system's role, and calls the assistant “model”.
GEMMA_2 = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}
{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}
{% set role = message['role'] %}{% endif %}
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}
{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

# Takes both texts and parts.
GEMMA_3 = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first = (messages[0]['content'] if messages[0]['content'] is string
        else messages[0]['content'][0]['text']) + '\\n\\n' -%}
    {%- set talk = messages[1:] -%}
{%- else -%}{%- set first = '' -%}{%- set talk = messages -%}{%- endif -%}
{%- for message in talk -%}
    {{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) }}
    {{- '\\n' + (first if loop.first else '') }}
    {%- if message['content'] is string -%}{{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"""

# Takes parts alone: of a text it would write nothing.
PARTS_ALONE = """{{ bos_token }}{% for message in messages %}
{{ '<start_of_turn>' + message.role + '\\n' }}
{% for item in message.content %}{% if item.type == 'text' %}{{ item.text }}{% endif %}{% endfor %}
{{ '<end_of_turn>\\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

# Parts as well; of a text it would take the first letter for one and break off.
FIRST_PART = """{% for message in messages %}
{{ message.role | capitalize }}{{ ':' if message.content[0]['type'] == 'text' else ': ' }}
{{ ' ' + message.content[0].text + '<end_of_utterance>\\n' }}{% endfor %}
{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""

# Special tokens that the source does not spell out.
PHI_3 = """{% for message in messages %}
{{ '<|' + message['role'] + '|>' + '\\n' + message['content'] + '<|end|>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

PHI_4 = """{% for message in messages %}
{% if message['role'] == 'system' %}
{{ '<|im_start|>system<|im_sep|>' + message['content'] + '<|im_end|>' }}
{% elif message['role'] == 'user' %}
{{ '<|im_start|>user<|im_sep|>' + message['content'] + '<|im_end|>' }}
{% elif message['role'] == 'assistant' %}
{{ '<|im_start|>assistant<|im_sep|>' }}
{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}
{% endif %}{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"""

# {% generation %}, a day, and commands that are taken out of the system prompt.
SMOLLM_3 = """{%- if enable_thinking is not defined %}{%- set enable_thinking = true %}{%- endif %}
{%- set mode = "/think" if enable_thinking else "/no_think" %}
{%- set system = messages[0].content if messages[0].role == "system" else "" %}
{%- if "/no_think" in system %}{%- set mode = "/no_think" %}{%- endif %}
{%- set custom = system.replace("/no_think", "").replace("/think", "").rstrip() %}
{{- "<|im_start|>system\\n## Metadata\\n\\nToday Date: " + strftime_now("%B") + "\\n" }}
{{- "Reasoning Mode: " + mode + "\\n\\n" + custom + "<|im_end|>\\n" }}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else "" %}
    {%- if message.role == "user" %}{{ "<|im_start|>user\\n" + content + "<|im_end|>\\n" }}
    {%- elif message.role == "assistant" %}
        {% generation %}
        {%- if mode == "/think" %}
            {{ "<|im_start|>assistant\\n" + content.lstrip("\\n") + "<|im_end|>\\n" }}
        {%- else %}
            {{ "<|im_start|>assistant\\n<think>\\n\\n</think>\\n" + content.lstrip("\\n") }}
            {{- "<|im_end|>\\n" }}
        {%- endif %}
        {% endgeneration %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<|im_start|>assistant\\n" }}{%- endif %}"""

LFM_2 = """{{- bos_token -}}
{%- set ns = namespace(system="") -%}
{%- if messages[0]["role"] == "system" -%}
    {%- set ns.system = messages[0]["content"] -%}{%- set messages = messages[1:] -%}
{%- endif -%}
{%- if ns.system -%}{{- "<|im_start|>system\\n" + ns.system + "<|im_end|>\\n" -}}{%- endif -%}
{%- for message in messages -%}
    {{- "<|im_start|>" + message["role"] + "\\n" -}}
    {%- if message["role"] == "assistant" -%}
        {%- generation -%}{{- message["content"] + "<|im_end|>" -}}{%- endgeneration -%}
        {{- "\\n" -}}
    {%- else -%}{{- message["content"] + "<|im_end|>\\n" -}}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "<|im_start|>assistant\\n" -}}{%- endif -%}"""

DEEPSEEK = """{% if not add_generation_prompt is defined %}
{% set add_generation_prompt = false %}{% endif %}
{% set ns = namespace(is_first=false, system='') %}{%- for message in messages %}
{%- if message['role'] == 'system' %}{% set ns.system = message['content'] %}{%- endif %}
{%- endfor %}{{ bos_token }}{{ ns.system }}{%- for message in messages %}
{%- if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{%- endif %}
{%- if message['role'] == 'assistant' and message['content'] is not none %}
{% set content = message['content'] %}{% if '</think>' in content %}
{% set content = content.split('</think>')[-1] %}{% endif %}
{{- '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}{%- endif %}{%- endfor -%}
{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"""

COMMAND_R = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}
{% elif false == true %}{% set loop_messages = messages %}{% set system_message = 'You are' %}
{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}
{% if system_message != false %}
{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' + system_message + '<|END_OF_TURN_TOKEN|>' }}
{% endif %}{% for message in loop_messages %}{% set content = message['content'] %}
{% if message['role'] == 'user' %}
{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + content.strip() + '<|END_OF_TURN_TOKEN|>' }}
{% elif message['role'] == 'assistant' %}
{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' + content.strip() + '<|END_OF_TURN_TOKEN|>' }}
{% endif %}{% endfor %}
{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"""

ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n' + message['content'] + eos_token }}{% endif %}
{% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}"""

# A macro, dict(), and a loop that is broken off.
GRANITE = """{%- macro turn(role, text) -%}
{{- '<|start_of_role|>' + role + '<|end_of_role|>' + text + '<|end_of_text|>\\n' -}}
{%- endmacro -%}
{%- set names = dict(user='user', assistant='assistant', system='system') -%}
{%- for message in messages -%}
    {%- if message.role not in names -%}{%- break -%}{%- endif -%}
    {{- turn(names[message.role], message.content) -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_of_role|>assistant<|end_of_role|>' -}}{%- endif -%}"""

# Writes JSON, with options that transformers' filter has.
FUNCTIONS = """{{ {'b': 1, 'a': [2]} | tojson(separators=(',', ':'), sort_keys=true) }}
{% for message in messages %}
{{ '<|' + message.role + '|>' + message.content | tojson + '\\n' }}
{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""

# tools must be none, not only undefined: otherwise it writes of them.
TOOLS_NONE = """{% if tools is not none %}Tools: {{ tools }}{% endif %}
{% if documents is not none %}Documents: {{ documents }}{% endif %}
{% for message in messages %}[{{ message.role }}]: {{ message.content }}
{% endfor %}{% if add_generation_prompt %}[assistant]:{% endif %}"""

FAMILIES = {
    "ChatML": CHATML,
    "Qwen 2": QWEN_2,
    "Qwen 3": QWEN_3,
    "Llama 2": LLAMA_2,
    "Llama 3": LLAMA_3,
    "Llama 3.1": LLAMA_31,
    "Mistral": MISTRAL,
    "Gemma 2": GEMMA_2,
    "Gemma 3": GEMMA_3,
    "Gemma of parts": PARTS_ALONE,
    "first part": FIRST_PART,
    "Phi 3": PHI_3,
    "Phi 4 reasoning": PHI_4,
    "SmolLM 3": SMOLLM_3,
    "LFM 2": LFM_2,
    "DeepSeek": DEEPSEEK,
    "Command R": COMMAND_R,
    "Zephyr": ZEPHYR,
    "Granite": GRANITE,
    "functions": FUNCTIONS,
    "tools none": TOOLS_NONE,
}
OF_PARTS = ("Gemma of parts", "first part")
