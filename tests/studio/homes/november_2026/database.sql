BEGIN TRANSACTION;
CREATE TABLE api_keys (
        number              INTEGER PRIMARY KEY AUTOINCREMENT,
        id                  TEXT NOT NULL UNIQUE,
        owner               TEXT NOT NULL,
        name                TEXT NOT NULL,
        digest              BLOB NOT NULL UNIQUE,  -- SHA-256 of the key, which is kept nowhere
        ending              TEXT NOT NULL,  -- the key's last four characters
        requests_per_minute INTEGER,        -- NULL: as the settings say
        tokens_per_minute   INTEGER,
        created             REAL NOT NULL,
        used                REAL,
        revoked             REAL
    );
INSERT INTO "api_keys" VALUES(1,'c87de6a68bde','local','for a script',X'009CA7BE49A3F257708B8D8A31085FBE5735F377F3F8F0F3D759B6DB521C7DD4','kkkk',12,3400,1.79605042457134461402e+09,NULL,NULL);
INSERT INTO "api_keys" VALUES(2,'6b074f271701','local','an old one',X'C63FACC1288F47D2CB475E9A071DAE12D3D2E6CD576E1E26D6533B8C425A4F75','DC_Y',NULL,NULL,1.796050424571491003e+09,NULL,1.79605042457157874111e+09);
CREATE TABLE chat_messages (
        number       INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id           TEXT NOT NULL UNIQUE,
        conversation TEXT NOT NULL,
        twin         TEXT NOT NULL,         -- the same for one message in each lane of a group
        parent       TEXT,                  -- the message it follows; NULL for a first one
        role         TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
        content      TEXT NOT NULL,
        words        TEXT NOT NULL,         -- the content, folded for searching
        state        TEXT NOT NULL CHECK
                     (state IN ('done', 'streaming', 'stopped', 'failed', 'interrupted')),
        model        TEXT,                  -- who answered
        facts        TEXT,                  -- JSON: counts and times of an answer
        error        TEXT,                  -- Message, JSON
        created      REAL NOT NULL
    );
INSERT INTO "chat_messages" VALUES(1,'NXxsp6XHUUfrZupN','d7xJ1S6mL514hD1y','YImgWbxcaJPxFkae',NULL,'user','What is a mug?','what is a mug?','done',NULL,NULL,NULL,1.79605042456898927687e+09);
INSERT INTO "chat_messages" VALUES(2,'DX9XSBELY06JC41p','d7xJ1S6mL514hD1y','ruTmZBX24nX8TMxv',NULL,'user','What is a teapot?','what is a teapot?','done',NULL,NULL,NULL,1.79605042456952261921e+09);
INSERT INTO "chat_messages" VALUES(3,'Y5uoCNEefp9D78Fq','qas_f_eJD7gkKvIs','gUtZy3Np148BDoeM',NULL,'user','Hello','hello','done',NULL,NULL,NULL,1.79605042457053136828e+09);
INSERT INTO "chat_messages" VALUES(4,'sbbAAW867vqzjic7','qas_f_eJD7gkKvIs','kKozuTOAckuWUd7g','Y5uoCNEefp9D78Fq','assistant','Good day.','good day.','done',NULL,NULL,NULL,1.79605042457053136828e+09);
INSERT INTO "chat_messages" VALUES(5,'i1TOoN4pGaVl0Zf4','qas_f_eJD7gkKvIs','l5o8dLmKQgr7P85x','sbbAAW867vqzjic7','user','Name a toy.','name a toy.','done',NULL,NULL,NULL,1.79605042457053136828e+09);
INSERT INTO "chat_messages" VALUES(6,'NOZLlHevshKUddqY','qas_f_eJD7gkKvIs','Jct6RiONkia88lFH','i1TOoN4pGaVl0Zf4','assistant','A wooden horse.','a wooden horse.','done',NULL,NULL,NULL,1.79605042457053136828e+09);
INSERT INTO "chat_messages" VALUES(7,'Xgr5aGaL41mkB0-7','zIF7VISNrh1sfFFd','A-y4AQ5DI7_rMoOa',NULL,'user','Two of you?','two of you?','done',NULL,NULL,NULL,1.79605042457114744188e+09);
INSERT INTO "chat_messages" VALUES(8,'LtRafKHI8gGTtOTA','CDm6b6ob-m35vABm','A-y4AQ5DI7_rMoOa',NULL,'user','Two of you?','two of you?','done',NULL,NULL,NULL,1.79605042457117843632e+09);
CREATE TABLE chat_pieces (              -- of answers that are still being written
        number  INTEGER PRIMARY KEY AUTOINCREMENT,
        message TEXT NOT NULL,
        text    TEXT NOT NULL
    );
CREATE TABLE cluster_data (             -- points to cluster
        number  INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id      TEXT NOT NULL UNIQUE,       -- made of owner and source
        owner   TEXT NOT NULL,
        kind    TEXT NOT NULL,
        title   TEXT NOT NULL,
        points  INTEGER NOT NULL,
        columns TEXT NOT NULL,              -- JSON
        truth   INTEGER NOT NULL,           -- whether true groups are known
        source  TEXT NOT NULL,              -- JSON
        notes   TEXT NOT NULL,              -- JSON: messages
        bytes   INTEGER NOT NULL,           -- of the file in cluster_data/
        created REAL NOT NULL               -- when it was last asked for; seconds since 1970
    );
INSERT INTO "cluster_data" VALUES(1,'91fd43f3f104e5132079740c6fcb83ae','ada','made','Moons',40,'["x", "y"]',1,'{"name": "moons", "points": 40, "noise": 0.06, "clusters": 3, "seed": 0, "kind": "made"}','[]',1581,1.79605042464947557449e+09);
INSERT INTO "cluster_data" VALUES(2,'3e35c237b16c9b3e39de79d4b1fb7d60','ada','table','my.csv',3,'["a", "b"]',0,'{"kind": "table", "table": "95eb15292b8eeaf5b26611e72efe2100", "picking": {"columns": ["a", "b"], "as_categories": [], "missing": "drop", "max_levels": 20, "truth": null}}','[{"template": "{count} of {rows} rows were left out: values are missing in {names}.", "values": {"count": "1", "rows": "4", "names": "''b''"}}]',852,1.79605042977708911902e+09);
INSERT INTO "cluster_data" VALUES(3,'4d333ece14292031af251f3139bf1276','ada','picture','Colours of a picture',64,'["L*", "a*", "b*"]',0,'{"kind": "picture", "picture": "c76b692ea5887f6ba03aac34f143262c"}','[]',2850,1.79605042980226087571e+09);
INSERT INTO "cluster_data" VALUES(4,'f96835f477dd4597fa85456ae55e72f1','ada','drawn','Drawn points',4,'["x", "y"]',0,'{"kind": "drawn"}','[]',610,1.79605042980298614503e+09);
CREATE TABLE cluster_tables (           -- tables that people bring in to cluster
        number  INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id      TEXT NOT NULL UNIQUE,       -- made of owner, bytes and how they are read
        owner   TEXT NOT NULL,
        name    TEXT NOT NULL,              -- the file's, to be shown
        about   TEXT NOT NULL,              -- JSON: layout, rows, columns, preview
        bytes   INTEGER NOT NULL,           -- of the file in cluster_tables/
        created REAL NOT NULL               -- when it was last brought in; seconds since 1970
    );
INSERT INTO "cluster_tables" VALUES(1,'95eb15292b8eeaf5b26611e72efe2100','ada','my.csv','{"format": "text", "layout": {"encoding": "utf-8-sig", "delimiter": ",", "decimal": ".", "thousands": null, "skip": 1, "header": true, "names": ["a", "b", "c"]}, "rows": 4, "columns": [{"name": "a", "kind": "number", "rows": 4, "missing": 0, "infinite": 0, "unreadable": 0, "example": "", "levels": 4, "least": 1.0, "most": 7.0, "doubts": [], "firsts": [["1", 1.0], ["3", 3.0], ["5", 5.0]]}, {"name": "b", "kind": "number", "rows": 4, "missing": 1, "infinite": 0, "unreadable": 0, "example": "", "levels": 3, "least": 2.0, "most": 8.0, "doubts": [], "firsts": [["2", 2.0], ["6", 6.0], ["8", 8.0]]}, {"name": "c", "kind": "category", "rows": 4, "missing": 0, "infinite": 0, "unreadable": 0, "example": "x", "levels": 3, "least": null, "most": null, "doubts": [], "firsts": [["x", null], ["y", null], ["x", null]]}], "preview": [["1", "2", "x"], ["3", "", "y"], ["5", "6", "x"], ["7", "8", "z"]], "left_out": [], "guesses": [{"what": "encoding", "value": "utf-8", "chosen": false, "doubt": null, "others": []}, {"what": "delimiter", "value": ",", "chosen": false, "doubt": null, "others": []}, {"what": "decimal", "value": ".", "chosen": false, "doubt": null, "others": []}, {"what": "thousands", "value": "none", "chosen": false, "doubt": null, "others": []}, {"what": "header", "value": true, "chosen": false, "doubt": null, "others": []}], "short_rows": 0, "passed": []}',29,1.79605042944097900389e+09);
CREATE TABLE conversations (
        number        INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id            TEXT NOT NULL UNIQUE,
        owner         TEXT NOT NULL,
        group_id      TEXT NOT NULL,        -- the same for those that stand side by side
        lane          INTEGER NOT NULL,     -- place among these; 0 stands in the list
        title         TEXT NOT NULL,
        words         TEXT NOT NULL,        -- the title, folded for searching
        model         TEXT NOT NULL,
        system_prompt TEXT NOT NULL,
        sampling      TEXT NOT NULL,        -- JSON: what is not left to the model's file
        leaf          TEXT,                 -- the message that is shown last
        revision      INTEGER NOT NULL DEFAULT 0,  -- rises with each change in the group
        bytes         INTEGER NOT NULL DEFAULT 0,  -- of its messages
        created       REAL NOT NULL,        -- seconds since 1970
        updated       REAL NOT NULL
    );
INSERT INTO "conversations" VALUES(1,'d7xJ1S6mL514hD1y','ada','TruINpJpjrNOLHos',0,'What is a mug?','what is a mug?','smollm2-135m','Be brief.','{}','DX9XSBELY06JC41p',2,31,1.79605042456863665586e+09,1.79605042456959056859e+09);
INSERT INTO "conversations" VALUES(2,'qas_f_eJD7gkKvIs','bob','6X6veQRAurbB6tTl',0,'Hello','hello','smollm2-135m','','{}','NOZLlHevshKUddqY',0,40,1.7960504245706369877e+09,1.7960504245706369877e+09);
INSERT INTO "conversations" VALUES(3,'zIF7VISNrh1sfFFd','ada','Nh5xR74E30ZOfM8Z',0,'Two of you?','two of you?','smollm2-135m','','{}','Xgr5aGaL41mkB0-7',1,11,1.79605042457102370267e+09,1.7960504245712442398e+09);
INSERT INTO "conversations" VALUES(4,'CDm6b6ob-m35vABm','ada','Nh5xR74E30ZOfM8Z',1,'Two of you?','two of you?','tiny','','{}','LtRafKHI8gGTtOTA',1,11,1.79605042457104182238e+09,1.7960504245712442398e+09);
CREATE TABLE ended_sessions (           -- cookies of people who have logged out
        digest BLOB PRIMARY KEY,            -- SHA-256 of the cookie
        until  REAL NOT NULL                -- when it would end by itself; seconds since 1970
    ) WITHOUT ROWID;
CREATE TABLE inputs (                   -- pictures that people bring in
        number  INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id      TEXT NOT NULL UNIQUE,       -- made of owner and pixels
        owner   TEXT NOT NULL,
        width   INTEGER NOT NULL,
        height  INTEGER NOT NULL,
        bytes   INTEGER NOT NULL,           -- of the file in inputs/
        created REAL NOT NULL               -- when it was last brought in; seconds since 1970
    );
INSERT INTO "inputs" VALUES(1,'9a3adfb262fb2690bd173ca543277ab2','ada',64,64,5136,1.79605042462388920783e+09);
INSERT INTO "inputs" VALUES(2,'c76b692ea5887f6ba03aac34f143262c','ada',8,8,268,1.79605042462531805033e+09);
INSERT INTO "inputs" VALUES(3,'cc7cc118c9f4433ada954ca388cf6ad5','ada',8,8,268,1.7960504246476285458e+09);
CREATE TABLE jobs (
        number   INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id       TEXT NOT NULL UNIQUE,
        owner    TEXT NOT NULL,
        kind     TEXT NOT NULL,
        request  TEXT NOT NULL,             -- JSON
        state    TEXT NOT NULL
                 CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
        step     INTEGER NOT NULL DEFAULT 0,
        total    INTEGER NOT NULL DEFAULT 0,
        note     TEXT,                      -- Message, JSON
        result   TEXT,                      -- JSON
        error    TEXT,                      -- Message, JSON
        served   INTEGER NOT NULL DEFAULT 0,  -- rises with every start of any job
        crashes  INTEGER NOT NULL DEFAULT 0,  -- times the studio died while the job ran
        stopping INTEGER NOT NULL DEFAULT 0,  -- cancelled while running, not yet seen by the engine
        created  REAL NOT NULL,             -- seconds since 1970
        started  REAL,
        finished REAL
    );
INSERT INTO "jobs" VALUES(1,'1NKpStRiZVsrxnGx','ada','dreambooth','{"subject":"90935166746783ce7a5befbcd5ef5646","training":"99f9349510b38712482499e29628032a","owner":"ada","method":"lora","model":"starter","name":"whiskers","identifier":"sks","class_word":"cat","rank":1,"alpha":null,"dropout":0.0,"target_modules":"attention","train_text_encoder":false,"vectors":1,"steps":2,"batch_size":1,"gradient_accumulation":1,"gradient_checkpointing":false,"processes":1,"resolution":64,"buckets":false,"mirror":false,"caption_dropout":0.0,"learning_rate":0.0001,"text_encoder_learning_rate":null,"schedule":"constant","warmup_steps":0,"optimizer":"adamw","weight_decay":0.01,"max_grad_norm":1.0,"prior_preservation":false,"prior_weight":1.0,"class_pictures":100,"class_prompts":[],"snr_gamma":0.0,"noise_offset":0.0,"ema":false,"ema_decay":0.995,"mixed_precision":"auto","seed":0,"save_every":0,"sample_every":2,"sample_prompts":["a [trigger]"]}','done',2,2,NULL,'{"notes": [], "lora": "d0a2b2f0a445fdb3afe94157ae6c2436", "name": "whiskers", "training": "99f9349510b38712482499e29628032a", "steps": 2, "seconds": 123.7}',NULL,1,0,0,1.79605044199837303158e+09,1.79605044201166224476e+09,1.79605056575002694128e+09);
INSERT INTO "jobs" VALUES(2,'DDYcMS87q9OOBvYS','ada','dreambooth','{"subject":"90935166746783ce7a5befbcd5ef5646","training":"b539a3ba5ac540e30896339a3fc113ab","owner":"ada","method":"textual_inversion","model":"starter","name":"whiskers word","identifier":"<whiskers>","class_word":"cat","rank":16,"alpha":null,"dropout":0.0,"target_modules":"attention","train_text_encoder":false,"vectors":1,"steps":2,"batch_size":1,"gradient_accumulation":1,"gradient_checkpointing":false,"processes":1,"resolution":64,"buckets":false,"mirror":false,"caption_dropout":0.0,"learning_rate":0.0001,"text_encoder_learning_rate":null,"schedule":"constant","warmup_steps":0,"optimizer":"adamw","weight_decay":0.01,"max_grad_norm":1.0,"prior_preservation":false,"prior_weight":1.0,"class_pictures":100,"class_prompts":[],"snr_gamma":0.0,"noise_offset":0.0,"ema":false,"ema_decay":0.995,"mixed_precision":"auto","seed":0,"save_every":0,"sample_every":0,"sample_prompts":[]}','done',2,2,NULL,'{"notes": [], "lora": "8a0a1a74ff1a46d9824b1abd0ab9a9d3", "name": "whiskers word", "training": "b539a3ba5ac540e30896339a3fc113ab", "steps": 2, "seconds": 83.1}',NULL,2,0,0,1.7960505659127428532e+09,1.79605056591304016117e+09,1.79605064900032496445e+09);
INSERT INTO "jobs" VALUES(3,'UCNPSBREKevB_053','ada','text_to_image','{"prompt":"a red mug <lora:whiskers:0.5>","negative_prompt":"","model":"starter","style":null,"sampler":null,"schedule":null,"steps":2,"guidance":null,"guidance_rescale":0.0,"clip_skip":1,"eta":null,"width":64,"height":64,"seed":1,"batch_count":1,"batch_size":2,"loras":[{"name":"whiskers","weight":0.5,"text_weight":null,"id":"d0a2b2f0a445fdb3afe94157ae6c2436"}]}','done',2,2,NULL,'{"seconds": 31.886, "pictures": 2, "device": "cpu", "loras": [{"name": "whiskers", "weight": 0.5, "matched": 88, "keys": 88}], "notes": [{"template": "{matched} of {keys} modules of the LoRA {name} fit {model}.", "values": {"matched": 88, "keys": 88, "name": "whiskers", "model": "Atelier starter (Toybox)"}}]}',NULL,3,0,0,1.79605064920186781882e+09,1.79605064921620464317e+09,1.79605076637398123739e+09);
INSERT INTO "jobs" VALUES(4,'fLxzpBNq4gZs8O6y','bob','text_to_image','{"prompt":"a blue horse","negative_prompt":"","model":"starter","style":null,"sampler":null,"schedule":null,"steps":2,"guidance":null,"guidance_rescale":0.0,"clip_skip":1,"eta":null,"width":64,"height":64,"seed":1,"batch_count":1,"batch_size":1,"loras":[]}','done',2,2,NULL,'{"seconds": 15.342, "pictures": 1, "device": "cpu", "loras": [], "notes": []}',NULL,4,0,0,1.79605076651815533635e+09,1.79605076651920795441e+09,1796050781.88137);
INSERT INTO "jobs" VALUES(5,'mfh7sbvyhjVrlhoX','guest-0123456789abcdef','text_to_image','{"prompt":"a green teapot","negative_prompt":"","model":"starter","style":null,"sampler":null,"schedule":null,"steps":2,"guidance":null,"guidance_rescale":0.0,"clip_skip":1,"eta":null,"width":64,"height":64,"seed":1,"batch_count":1,"batch_size":1,"loras":[]}','done',2,2,NULL,'{"seconds": 4.296, "pictures": 1, "device": "cpu", "loras": [], "notes": []}',NULL,5,0,0,1.79605078195488905906e+09,1.79605078197622585294e+09,1.79605078629336380961e+09);
INSERT INTO "jobs" VALUES(6,'8b1iy2eNndO_xDR1','local','text_to_image','{"prompt":"a yellow ball","negative_prompt":"","model":"starter","style":null,"sampler":null,"schedule":null,"steps":2,"guidance":null,"guidance_rescale":0.0,"clip_skip":1,"eta":null,"width":64,"height":64,"seed":1,"batch_count":1,"batch_size":1,"loras":[]}','done',2,2,NULL,'{"seconds": 3.025, "pictures": 1, "device": "cpu", "loras": [], "notes": []}',NULL,6,0,0,1.7960507864742410183e+09,1.79605078647520065302e+09,1.79605078950237798691e+09);
INSERT INTO "jobs" VALUES(7,'ck17cDxzLql_Um8j','ada','compare_samplers','{"base":{"prompt":"a mug","negative_prompt":"","model":"starter","style":null,"sampler":null,"schedule":null,"steps":2,"guidance":null,"guidance_rescale":0.0,"clip_skip":1,"eta":null,"width":64,"height":64,"seed":1,"batch_count":1,"batch_size":1,"loras":[]},"samplers":["Euler","DDIM"],"steps":[2]}','done',4,4,NULL,'{"seconds": 5.302, "pictures": 2, "device": "cpu", "loras": [], "notes": [], "cells": [{"sampler": "Euler", "schedule": "Karras", "steps": 2, "seconds": 2.138}, {"sampler": "DDIM", "schedule": "Uniform", "steps": 2, "seconds": 3.053}]}',NULL,7,0,0,1.79605078963714122775e+09,1.79605078964013028142e+09,1.79605079507820105549e+09);
INSERT INTO "jobs" VALUES(8,'E4y-czcwdBt1QffS','ada','control','{"prompt":"a mug","negative_prompt":"","model":"starter","style":null,"sampler":null,"schedule":null,"steps":2,"guidance":null,"guidance_rescale":0.0,"clip_skip":1,"eta":null,"width":64,"height":64,"seed":1,"batch_count":1,"batch_size":1,"loras":[],"units":[{"picture":"9a3adfb262fb2690bd173ca543277ab2","preprocessor":"none","parameters":{},"resize_mode":"crop","model":"starter-controlnet-sketch","weight":1.0,"start":0.0,"end":1.0,"control_mode":"balanced"}]}','done',2,2,NULL,'{"seconds": 23.043, "pictures": 1, "device": "cpu", "loras": [], "notes": []}',NULL,8,0,0,1.79605079527879500384e+09,1.79605079528301167491e+09,1.79605093070411229137e+09);
INSERT INTO "jobs" VALUES(9,'cFAzduO-1n593KjZ','ada','merge_loras','{"loras":[{"name":"whiskers","weight":0.5,"text_weight":null,"id":"d0a2b2f0a445fdb3afe94157ae6c2436"}],"name":"halved","model":null,"rank":1,"owner":"ada","id":"c26cfaa9e2700a186d6b6c37b059fa70"}','done',0,1,NULL,'{"lora": "c26cfaa9e2700a186d6b6c37b059fa70", "name": "halved", "kind": "lora"}',NULL,9,0,0,1796050930.90737,1.79605093091179180146e+09,1.79605093119550395007e+09);
INSERT INTO "jobs" VALUES(10,'ydS4K3C4M8wPxGcr','ada','before_after','{"base":{"prompt":"","negative_prompt":"","model":"starter","style":null,"sampler":null,"schedule":null,"steps":2,"guidance":null,"guidance_rescale":0.0,"clip_skip":1,"eta":null,"width":64,"height":64,"seed":1,"batch_count":1,"batch_size":1,"loras":[]},"prompts":["a sks cat"],"lora":{"name":"whiskers","weight":1.0,"text_weight":null,"id":"d0a2b2f0a445fdb3afe94157ae6c2436"},"model":null,"weights":[0.0,1.0]}','done',200,200,NULL,'{"seconds": 41.301, "pictures": 2, "weights": [0.0, 1.0], "notes": [{"template": "{matched} of {keys} modules of the LoRA {name} fit {model}.", "values": {"matched": 88, "keys": 88, "name": "whiskers", "model": "Atelier starter (Toybox)"}}]}',NULL,10,0,0,1.79605093135729503633e+09,1.79605093136564970021e+09,1.79605097272059249877e+09);
INSERT INTO "jobs" VALUES(11,'by8DAoFocsV9AlBe','ada','cluster','{"data":"91fd43f3f104e5132079740c6fcb83ae","scaling":"none","seed":0,"algorithm":"kmeans","parameters":{}}','done',1,1,NULL,'{"folder": "4d79d551a6b50903a1a5386ac6b3020e", "bytes": 1727, "fit_seconds": 0.5981972240006144, "peak_bytes": 2338816, "scores": {"clusters": 3, "sizes": [13, 14, 13], "noise": 0, "noise_share": 0.0, "silhouette": 0.40394299979086856, "davies_bouldin": 0.928036893430605, "calinski_harabasz": 37.34543110034533, "sampled": null}, "notes": [], "agreement": {"ari": 0.3554788610871441, "nmi": 0.3941777017819774, "homogeneity": 0.5092910036580672, "completeness": 0.3215082849059436, "matched": 0.625, "unlabelled": 0, "confusion": [[11, 0, 9], [2, 14, 4]], "classes": ["0", "1"], "columns": [0, 1, 2], "columns_left_out": 0}, "points": 40, "columns": 2, "seconds": 22.747}',NULL,11,0,0,1.79605097285615539553e+09,1.79605097286419510839e+09,1.79605099562555623055e+09);
INSERT INTO "jobs" VALUES(12,'jkgpEIsp12mpsVZZ','ada','cluster','{"data":"4d333ece14292031af251f3139bf1276","scaling":"none","seed":0,"algorithm":"kmeans","parameters":{}}','done',1,1,NULL,'{"folder": "6548cb8031fccb35c8ffb5aa0afd824c", "bytes": 1952, "fit_seconds": 0.5177611049984989, "peak_bytes": 73728, "scores": {"clusters": 3, "sizes": [28, 15, 21], "noise": 0, "noise_share": 0.0, "silhouette": 0.478422181420833, "davies_bouldin": 0.7430251242913735, "calinski_harabasz": 86.93410272153034, "sampled": null}, "notes": [], "points": 64, "columns": 3, "seconds": 1.377}',NULL,12,0,0,1.79605099563477802271e+09,1.79605099563613224023e+09,1.7960509970159335136e+09);
INSERT INTO "jobs" VALUES(13,'Gl0qgAe0fMAvrXiy','ada','compare_clusters','{"data":"3e35c237b16c9b3e39de79d4b1fb7d60","scaling":"none","seed":0,"algorithms":["kmeans","dbscan"],"clusters":2}','done',2,2,NULL,'{"folder": "62d4f40ab3cb45c0a569a53903983e04", "bytes": 534, "rows": [{"algorithm": "kmeans", "title": "K-Means", "seconds": 0.4698146230002749, "peak_bytes": 0, "clusters": 2, "sizes": [1, 2], "noise": 0, "noise_share": 0.0, "silhouette": 0.38888888888888884, "davies_bouldin": 0.2, "calinski_harabasz": 8.333333333333332, "sampled": null}, {"algorithm": "dbscan", "title": "DBSCAN", "seconds": 0.11954512000011164, "peak_bytes": 380928, "clusters": 0, "sizes": [], "noise": 3, "noise_share": 1.0, "silhouette": null, "davies_bouldin": null, "calinski_harabasz": null, "sampled": null}], "points": 3, "columns": 2, "seconds": 3.289}',NULL,13,0,0,1.79605099705000233645e+09,1.79605099705740165706e+09,1.79605100035321807862e+09);
INSERT INTO "jobs" VALUES(14,'wMh6pjfkRhmiDp_D','ada','cluster_curve','{"data":"91fd43f3f104e5132079740c6fcb83ae","scaling":"none","seed":0,"algorithm":"kmeans","parameters":{},"curve":"elbow","least":1,"most":4,"min_samples":5,"seeds":10}','done',3,4,NULL,'{"curve": {"ks": [1, 2, 3, 4], "inertia": [15.63316637744771, 7.462618530369605, 5.178822551537152, 3.2163250615189916], "knee": 2, "of": null}, "notes": [], "points": 40, "columns": 2, "seconds": 1.884}',NULL,14,0,0,1.79605100047814965251e+09,1.79605100047878289224e+09,1.79605100236321568491e+09);
INSERT INTO "jobs" VALUES(15,'f7hKMRQuT6PxtDzK','ada','score_blocks','{"model":"tiny","criterion":"magnitude","guard":false}','done',2,3,NULL,'{"criterion": "magnitude", "scores": [2192.808891055247, 2196.6050603048607, 2216.2255485998976], "guarded": [], "order": [0, 1, 2], "seconds": 1.3}',NULL,15,0,0,1.79605100261545777323e+09,1.79605100266973137859e+09,1.79605100417711067203e+09);
INSERT INTO "jobs" VALUES(16,'5Yg72LsgxfCtzOQR','ada','shorten','{"model":"tiny","criterion":"magnitude","guard":false,"pruning":"9eda351d42a59fda968e33f31858d47d","owner":"ada","name":"Brief","method":"depth","blocks":1,"share":0.2,"heal_minutes":0.0}','done',0,0,NULL,'{"what": {"method": "depth", "criterion": "magnitude", "guard": false, "dropped": [0], "scores": [2192.808891055247, 2196.6050603048607, 2216.2255485998976]}, "before": {"perplexity": 1130.9317982187633, "tokens": 8160, "tokens_per_second": 5.805658112421836, "parameters": 45856, "bytes": 183424, "peak_bytes": 1358976, "file_bytes": 183424}, "cut": {"perplexity": 1652.2507152731682, "tokens": 8160, "tokens_per_second": 13.747967685567454, "parameters": 36576, "bytes": 146304, "peak_bytes": 154496, "file_bytes": 148432}, "after": {"perplexity": 1652.2507152731682, "tokens": 8160, "tokens_per_second": 13.747967685567454, "parameters": 36576, "bytes": 146304, "peak_bytes": 154496, "file_bytes": 148432}, "notes": [], "folder": "brief-9eda351d", "name": "Brief", "seconds": 166.5}',NULL,16,0,0,1.79605100435684537883e+09,1796051004.37045,1.79605117090092825885e+09);
INSERT INTO "jobs" VALUES(17,'5UwizlzeZdFvhXza','ada','shorten_curve','{"model":"tiny","criterion":"magnitude","guard":false,"blocks":[0,1]}','done',2,3,NULL,'{"criterion": "magnitude", "scores": [2192.808891055247, 2196.6050603048607, 2216.2255485998976], "guarded": [], "order": [0, 1, 2], "points": [{"blocks": 0, "perplexity": 1130.9317982187633, "tokens": 8160, "tokens_per_second": 8.678642619095797, "parameters": 45856, "bytes": 183424, "peak_bytes": 191616}, {"blocks": 1, "perplexity": 1652.2507152731682, "tokens": 8160, "tokens_per_second": 29.34124298079715, "parameters": 36576, "bytes": 146304, "peak_bytes": 154496}], "seconds": 110.2}',NULL,17,0,0,1.79605117101309370991e+09,1.79605117101939344408e+09,1.79605128125513291361e+09);
INSERT INTO "jobs" VALUES(18,'c9eDGODhg8wT8WJC','ada','score_blocks','{"model":"own-chat:9eda351d42a59fda968e33f31858d47d","criterion":"magnitude","guard":false}','done',1,2,NULL,'{"criterion": "magnitude", "scores": [2196.6050603048607, 2216.2255485998976], "guarded": [], "order": [0, 1], "seconds": 0.9}',NULL,18,0,0,1.79605128135337924959e+09,1.79605128135751700396e+09,1.79605128224147367471e+09);
INSERT INTO "jobs" VALUES(19,'wPrx4Zv_YXj1xwRC','ada','text_to_image','{"prompt":"a cat <lora:halved>","negative_prompt":"","model":"starter","style":null,"sampler":null,"schedule":null,"steps":2,"guidance":null,"guidance_rescale":0.0,"clip_skip":1,"eta":null,"width":64,"height":64,"seed":1,"batch_count":1,"batch_size":1,"loras":[{"name":"halved","weight":1.0,"text_weight":null,"id":"c26cfaa9e2700a186d6b6c37b059fa70"}]}','failed',0,0,NULL,NULL,'{"template": "The LoRA {id} is no longer on the shelf.", "values": {"id": "c26cfaa9e2700a186d6b6c37b059fa70"}}',19,0,0,1.79605129001477169985e+09,1.79605129001744246485e+09,1.79605129370309805868e+09);
INSERT INTO "jobs" VALUES(20,'FSmXOxG_fRAOPf9a','bob','text_to_image','{"prompt":"to be deleted","negative_prompt":"","model":"starter","style":null,"sampler":null,"schedule":null,"steps":2,"guidance":null,"guidance_rescale":0.0,"clip_skip":1,"eta":null,"width":64,"height":64,"seed":1,"batch_count":1,"batch_size":1,"loras":[]}','done',2,2,NULL,'{"seconds": 12.033, "pictures": 1, "device": "cpu", "loras": [], "notes": []}',NULL,20,0,0,1.79605129376359176638e+09,1.79605129376392459866e+09,1.79605130580734324453e+09);
INSERT INTO "jobs" VALUES(21,'NhpHnspOetm488jh','bob','delete_pictures','{"owner":"bob","ids":["5p23_fOHe_-8N43o"],"inputs":[]}','done',1,1,NULL,'{"deleted": 1, "seconds": 0.005534365001949482}',NULL,21,0,0,1.79605130584172892563e+09,1.7960513058441421986e+09,1.79605130585016560551e+09);
INSERT INTO "jobs" VALUES(22,'9S27boZ6RyAsQz2h','ada','text_to_image','{"prompt":"cancelled","negative_prompt":"","model":"starter","style":null,"sampler":null,"schedule":null,"steps":2,"guidance":null,"guidance_rescale":0.0,"clip_skip":1,"eta":null,"width":64,"height":64,"seed":1,"batch_count":1,"batch_size":1,"loras":[]}','cancelled',0,0,NULL,NULL,NULL,0,0,0,1796051309.53053,NULL,1.79605130953136825563e+09);
INSERT INTO "jobs" VALUES(23,'7Yu6VWBg6y6eX0qv','bob','dreambooth','{"subject":"ffc45f599616864ddd940131844ab3e9","training":"1ddeae852ed7249b47eb57802393b31b","owner":"bob","method":"lora","model":"starter","name":"rex","identifier":"ohwx","class_word":"dog","rank":16,"alpha":null,"dropout":0.0,"target_modules":"attention","train_text_encoder":false,"vectors":1,"steps":2,"batch_size":1,"gradient_accumulation":1,"gradient_checkpointing":false,"processes":1,"resolution":64,"buckets":false,"mirror":false,"caption_dropout":0.0,"learning_rate":0.0001,"text_encoder_learning_rate":null,"schedule":"constant","warmup_steps":0,"optimizer":"adamw","weight_decay":0.01,"max_grad_norm":1.0,"prior_preservation":false,"prior_weight":1.0,"class_pictures":100,"class_prompts":[],"snr_gamma":0.0,"noise_offset":0.0,"ema":false,"ema_decay":0.995,"mixed_precision":"auto","seed":0,"save_every":0,"sample_every":0,"sample_prompts":[]}','cancelled',0,0,NULL,NULL,NULL,0,0,0,1.79605138290192794798e+09,NULL,1.79605138291286706925e+09);
INSERT INTO "jobs" VALUES(24,'dAEqCjy7A3T7BpU1','ada','text_to_image','{"prompt":"waiting <lora:whiskers:1>","negative_prompt":"","model":"starter","style":null,"sampler":null,"schedule":null,"steps":2,"guidance":null,"guidance_rescale":0.0,"clip_skip":1,"eta":null,"width":64,"height":64,"seed":1,"batch_count":1,"batch_size":1,"loras":[{"name":"whiskers","weight":1.0,"text_weight":null,"id":"d0a2b2f0a445fdb3afe94157ae6c2436"}]}','queued',0,0,NULL,NULL,NULL,0,0,0,1.79605138297363209724e+09,NULL,NULL);
INSERT INTO "jobs" VALUES(25,'ucOfttzWV517CkUM','ada','cluster','{"data":"f96835f477dd4597fa85456ae55e72f1","scaling":"none","seed":0,"algorithm":"kmeans","parameters":{}}','queued',0,0,NULL,NULL,NULL,0,0,0,1.79605138297424077992e+09,NULL,NULL);
INSERT INTO "jobs" VALUES(26,'AeqFR2b5hDjUMeEY','ada','dreambooth','{"subject":"90935166746783ce7a5befbcd5ef5646","training":"dccb9bf48c256fc407d2c1a0ceb2a19b","owner":"ada","method":"lora","model":"starter","name":"waiting","identifier":"sks","class_word":"cat","rank":1,"alpha":null,"dropout":0.0,"target_modules":"attention","train_text_encoder":false,"vectors":1,"steps":2,"batch_size":1,"gradient_accumulation":1,"gradient_checkpointing":false,"processes":1,"resolution":64,"buckets":false,"mirror":false,"caption_dropout":0.0,"learning_rate":0.0001,"text_encoder_learning_rate":null,"schedule":"constant","warmup_steps":0,"optimizer":"adamw","weight_decay":0.01,"max_grad_norm":1.0,"prior_preservation":false,"prior_weight":1.0,"class_pictures":100,"class_prompts":[],"snr_gamma":0.0,"noise_offset":0.0,"ema":false,"ema_decay":0.995,"mixed_precision":"auto","seed":0,"save_every":0,"sample_every":0,"sample_prompts":[]}','queued',0,0,NULL,NULL,NULL,0,0,0,1796051382.98527,NULL,NULL);
CREATE TABLE pictures (
        number     INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id         TEXT NOT NULL UNIQUE,
        owner      TEXT NOT NULL,
        job_id     TEXT NOT NULL,
        position   INTEGER NOT NULL,        -- within the job; -1 is the picture of the whole run
        kind       TEXT NOT NULL,
        request    TEXT NOT NULL,           -- JSON
        parameters TEXT NOT NULL,           -- as A1111 writes them
        words      TEXT NOT NULL,           -- the prompts, folded for searching
        width      INTEGER NOT NULL,
        height     INTEGER NOT NULL,
        bytes      INTEGER NOT NULL,
        seconds    REAL NOT NULL,
        file       TEXT NOT NULL,           -- below outputs/
        present    INTEGER NOT NULL DEFAULT 1,  -- 0 when the file has vanished
        created    REAL NOT NULL,           -- seconds since 1970
        UNIQUE (job_id, position)
    );
INSERT INTO "pictures" VALUES(1,'ctU271sVDkshE0Fh','ada','1NKpStRiZVsrxnGx',-1,'dreambooth','{"subject": "90935166746783ce7a5befbcd5ef5646", "training": "99f9349510b38712482499e29628032a", "owner": "ada", "method": "lora", "model": "starter", "name": "whiskers", "identifier": "sks", "class_word": "cat", "rank": 1, "alpha": null, "dropout": 0.0, "target_modules": "attention", "train_text_encoder": false, "vectors": 1, "steps": 2, "batch_size": 1, "gradient_accumulation": 1, "gradient_checkpointing": false, "processes": 1, "resolution": 64, "buckets": false, "mirror": false, "caption_dropout": 0.0, "learning_rate": 0.0001, "text_encoder_learning_rate": null, "schedule": "constant", "warmup_steps": 0, "optimizer": "adamw", "weight_decay": 0.01, "max_grad_norm": 1.0, "prior_preservation": false, "prior_weight": 1.0, "class_pictures": 100, "class_prompts": [], "snr_gamma": 0.0, "noise_offset": 0.0, "ema": false, "ema_decay": 0.995, "mixed_precision": "auto", "seed": 0, "save_every": 0, "sample_every": 2, "sample_prompts": ["a [trigger]"]}','Steps: 2, Schedule type: constant, Seed: 0, Size: 128x128, Model: starter, Version: Atelier 0.1.0','
',128,128,15027,0.0,'fdee430d40bd57deeac1/2026-11-30/ctU271sVDkshE0Fh.png',1,1.79605056574952936174e+09);
INSERT INTO "pictures" VALUES(2,'fmPolsY1KFYzftvP','ada','UCNPSBREKevB_053',0,'text_to_image','{"prompt": "a red mug <lora:whiskers:0.5>", "negative_prompt": "", "model": "starter", "style": null, "sampler": "DPM++ 2M", "schedule": "Karras", "steps": 2, "guidance": 3.0, "guidance_rescale": 0.0, "clip_skip": 1, "eta": null, "width": 64, "height": 64, "seed": 1, "batch_count": 1, "batch_size": 1, "loras": [{"name": "whiskers", "weight": 0.5, "text_weight": null, "id": "d0a2b2f0a445fdb3afe94157ae6c2436"}]}','a red mug <lora:whiskers:0.5>
Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3, Seed: 1, Size: 64x64, Model hash: e3f82026a1, Model: starter, RNG: CPU, torch: 2.14.1+cu130, diffusers: 0.42.1, Lora hashes: "whiskers: b18d71ef9df1", Version: Atelier 0.1.0','a red mug <lora:whiskers:0.5>
',64,64,4926,1.54111621275005745697e+01,'fdee430d40bd57deeac1/2026-11-30/fmPolsY1KFYzftvP.png',1,1.79605076624011254305e+09);
INSERT INTO "pictures" VALUES(3,'EjP4_ARPowgmp6HR','ada','UCNPSBREKevB_053',1,'text_to_image','{"prompt": "a red mug <lora:whiskers:0.5>", "negative_prompt": "", "model": "starter", "style": null, "sampler": "DPM++ 2M", "schedule": "Karras", "steps": 2, "guidance": 3.0, "guidance_rescale": 0.0, "clip_skip": 1, "eta": null, "width": 64, "height": 64, "seed": 2, "batch_count": 1, "batch_size": 1, "loras": [{"name": "whiskers", "weight": 0.5, "text_weight": null, "id": "d0a2b2f0a445fdb3afe94157ae6c2436"}]}','a red mug <lora:whiskers:0.5>
Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3, Seed: 2, Size: 64x64, Model hash: e3f82026a1, Model: starter, RNG: CPU, torch: 2.14.1+cu130, diffusers: 0.42.1, Lora hashes: "whiskers: b18d71ef9df1", Version: Atelier 0.1.0','a red mug <lora:whiskers:0.5>
',64,64,4883,1.54111621275005745697e+01,'fdee430d40bd57deeac1/2026-11-30/EjP4_ARPowgmp6HR.png',1,1.79605076627417874334e+09);
INSERT INTO "pictures" VALUES(4,'EuFT3czlYZzxdFQw','bob','fLxzpBNq4gZs8O6y',0,'text_to_image','{"prompt": "a blue horse", "negative_prompt": "", "model": "starter", "style": null, "sampler": "DPM++ 2M", "schedule": "Karras", "steps": 2, "guidance": 3.0, "guidance_rescale": 0.0, "clip_skip": 1, "eta": null, "width": 64, "height": 64, "seed": 1, "batch_count": 1, "batch_size": 1, "loras": []}','a blue horse
Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3, Seed: 1, Size: 64x64, Model hash: e3f82026a1, Model: starter, RNG: CPU, torch: 2.14.1+cu130, diffusers: 0.42.1, Version: Atelier 0.1.0','a blue horse
',64,64,4152,1.53026339499992900528e+01,'81b637d8fcd2c6da6359/2026-11-30/EuFT3czlYZzxdFQw.png',1,1.79605078186160206795e+09);
INSERT INTO "pictures" VALUES(5,'E9knztAJveRKG7AM','guest-0123456789abcdef','mfh7sbvyhjVrlhoX',0,'text_to_image','{"prompt": "a green teapot", "negative_prompt": "", "model": "starter", "style": null, "sampler": "DPM++ 2M", "schedule": "Karras", "steps": 2, "guidance": 3.0, "guidance_rescale": 0.0, "clip_skip": 1, "eta": null, "width": 64, "height": 64, "seed": 1, "batch_count": 1, "batch_size": 1, "loras": []}','a green teapot
Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3, Seed: 1, Size: 64x64, Model hash: e3f82026a1, Model: starter, RNG: CPU, torch: 2.14.1+cu130, diffusers: 0.42.1, Version: Atelier 0.1.0','a green teapot
',64,64,3945,4.27719503600019379518e+00,'c4a6a634ee1bb1629d4f/2026-11-30/E9knztAJveRKG7AM.png',1,1.79605078626845598216e+09);
INSERT INTO "pictures" VALUES(6,'K8SCdcjNrk-ewEnB','local','8b1iy2eNndO_xDR1',0,'text_to_image','{"prompt": "a yellow ball", "negative_prompt": "", "model": "starter", "style": null, "sampler": "DPM++ 2M", "schedule": "Karras", "steps": 2, "guidance": 3.0, "guidance_rescale": 0.0, "clip_skip": 1, "eta": null, "width": 64, "height": 64, "seed": 1, "batch_count": 1, "batch_size": 1, "loras": []}','a yellow ball
Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3, Seed: 1, Size: 64x64, Model hash: e3f82026a1, Model: starter, RNG: CPU, torch: 2.14.1+cu130, diffusers: 0.42.1, Version: Atelier 0.1.0','a yellow ball
',64,64,4682,2.93775330599964945577e+00,'local/2026-11-30/K8SCdcjNrk-ewEnB.png',1,1.79605078949970936768e+09);
INSERT INTO "pictures" VALUES(7,'5ke8-xSfWaTHcacS','ada','ck17cDxzLql_Um8j',0,'compare_samplers','{"prompt": "a mug", "negative_prompt": "", "model": "starter", "style": null, "sampler": "Euler", "schedule": "Karras", "steps": 2, "guidance": 3.0, "guidance_rescale": 0.0, "clip_skip": 1, "eta": null, "width": 64, "height": 64, "seed": 1, "batch_count": 1, "batch_size": 1, "loras": []}','a mug
Steps: 2, Sampler: Euler, Schedule type: Karras, CFG scale: 3, Seed: 1, Size: 64x64, Model hash: e3f82026a1, Model: starter, RNG: CPU, torch: 2.14.1+cu130, diffusers: 0.42.1, Version: Atelier 0.1.0','a mug
',64,64,3475,2.13782529099989915266e+00,'fdee430d40bd57deeac1/2026-11-30/5ke8-xSfWaTHcacS.png',1,1.79605079186661672598e+09);
INSERT INTO "pictures" VALUES(8,'1HShRDiND6wLTEt8','ada','ck17cDxzLql_Um8j',1,'compare_samplers','{"prompt": "a mug", "negative_prompt": "", "model": "starter", "style": null, "sampler": "DDIM", "schedule": "Uniform", "steps": 2, "guidance": 3.0, "guidance_rescale": 0.0, "clip_skip": 1, "eta": 0.0, "width": 64, "height": 64, "seed": 1, "batch_count": 1, "batch_size": 1, "loras": []}','a mug
Steps: 2, Sampler: DDIM, Schedule type: Uniform, CFG scale: 3, Seed: 1, Size: 64x64, Model hash: e3f82026a1, Model: starter, Eta DDIM: 0, RNG: CPU, torch: 2.14.1+cu130, diffusers: 0.42.1, Version: Atelier 0.1.0','a mug
',64,64,4307,3.05344400600006338208e+00,'fdee430d40bd57deeac1/2026-11-30/1HShRDiND6wLTEt8.png',1,1.79605079495843052866e+09);
INSERT INTO "pictures" VALUES(9,'Qm5HwseKRloIdzdZ','ada','ck17cDxzLql_Um8j',-1,'compare_samplers','{"base": {"prompt": "a mug", "negative_prompt": "", "model": "starter", "style": null, "sampler": null, "schedule": null, "steps": 2, "guidance": null, "guidance_rescale": 0.0, "clip_skip": 1, "eta": null, "width": 64, "height": 64, "seed": 1, "batch_count": 1, "batch_size": 1, "loras": []}, "samplers": ["Euler", "DDIM"], "steps": [2]}','a mug
Seed: 1, Size: 64x64, Model: starter, Script: X/Y/Z plot, X Type: Steps, X Values: 2, Y Type: Sampler, Y Values: "Euler, DDIM", Version: Atelier 0.1.0','a mug
',166,200,12616,0.0,'fdee430d40bd57deeac1/2026-11-30/Qm5HwseKRloIdzdZ.png',1,1.79605079504935979842e+09);
INSERT INTO "pictures" VALUES(10,'yKDzw4bt7KS-uN09','ada','E4y-czcwdBt1QffS',0,'control','{"prompt": "a mug", "negative_prompt": "", "model": "starter", "style": null, "sampler": "DPM++ 2M", "schedule": "Karras", "steps": 2, "guidance": 3.0, "guidance_rescale": 0.0, "clip_skip": 1, "eta": null, "width": 64, "height": 64, "seed": 1, "batch_count": 1, "batch_size": 1, "loras": [], "units": [{"picture": "9a3adfb262fb2690bd173ca543277ab2", "preprocessor": "none", "parameters": {}, "resize_mode": "crop", "model": "starter-controlnet-sketch", "weight": 1.0, "start": 0.0, "end": 1.0, "control_mode": "balanced"}]}','a mug
Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3, Seed: 1, Size: 64x64, Model hash: e3f82026a1, Model: starter, ControlNet 0: "Module: none, Model: starter-controlnet-sketch, Weight: 1.0, Resize Mode: Crop and Resize, Processor Res: 64, Threshold A: -1, Threshold B: -1, Guidance Start: 0.0, Guidance End: 1.0, Pixel Perfect: True, Control Mode: Balanced", RNG: CPU, torch: 2.14.1+cu130, diffusers: 0.42.1, Version: Atelier 0.1.0','a mug
',64,64,6794,2.28079928659972210871e+01,'fdee430d40bd57deeac1/2026-11-30/yKDzw4bt7KS-uN09.png',1,1.79605093067905068398e+09);
INSERT INTO "pictures" VALUES(11,'lqvq4ilr5FPuNsRL','ada','ydS4K3C4M8wPxGcr',0,'before_after','{"prompt": "a sks cat", "negative_prompt": "", "model": "starter", "style": null, "sampler": "DPM++ 2M", "schedule": "Karras", "steps": 2, "guidance": 3.0, "guidance_rescale": 0.0, "clip_skip": 1, "eta": null, "width": 64, "height": 64, "seed": 1, "batch_count": 1, "batch_size": 1, "loras": []}','a sks cat
Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3, Seed: 1, Size: 64x64, Model hash: e3f82026a1, Model: starter, RNG: CPU, torch: 2.14.1+cu130, diffusers: 0.42.1, Version: Atelier 0.1.0','a sks cat
',64,64,3391,6.61980274799861945211e+00,'fdee430d40bd57deeac1/2026-11-30/lqvq4ilr5FPuNsRL.png',1,1.79605093812175106997e+09);
INSERT INTO "pictures" VALUES(12,'E6TqZy9pyp6-tRQq','ada','ydS4K3C4M8wPxGcr',1,'before_after','{"prompt": "a sks cat", "negative_prompt": "", "model": "starter", "style": null, "sampler": "DPM++ 2M", "schedule": "Karras", "steps": 2, "guidance": 3.0, "guidance_rescale": 0.0, "clip_skip": 1, "eta": null, "width": 64, "height": 64, "seed": 1, "batch_count": 1, "batch_size": 1, "loras": [{"name": "whiskers", "weight": 1.0, "text_weight": null, "id": "d0a2b2f0a445fdb3afe94157ae6c2436"}]}','a sks cat <lora:whiskers:1>
Steps: 2, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 3, Seed: 1, Size: 64x64, Model hash: e3f82026a1, Model: starter, RNG: CPU, torch: 2.14.1+cu130, diffusers: 0.42.1, Lora hashes: "whiskers: b18d71ef9df1", Version: Atelier 0.1.0','a sks cat <lora:whiskers:1>
',64,64,3479,3.34650134889998298595e+01,'fdee430d40bd57deeac1/2026-11-30/E6TqZy9pyp6-tRQq.png',1,1.79605097243611574174e+09);
INSERT INTO "pictures" VALUES(13,'plalrzgN3ecC72cw','ada','ydS4K3C4M8wPxGcr',-1,'before_after','{"base": {"prompt": "", "negative_prompt": "", "model": "starter", "style": null, "sampler": null, "schedule": null, "steps": 2, "guidance": null, "guidance_rescale": 0.0, "clip_skip": 1, "eta": null, "width": 64, "height": 64, "seed": 1, "batch_count": 1, "batch_size": 1, "loras": []}, "prompts": ["a sks cat"], "lora": {"name": "whiskers", "weight": 1.0, "text_weight": null, "id": "d0a2b2f0a445fdb3afe94157ae6c2436"}, "model": null, "weights": [0.0, 1.0]}','Seed: 1, Size: 64x64, Model: starter, Script: X/Y/Z plot, X Type: Steps, X Values: , Y Type: Sampler, Y Values: , Version: Atelier 0.1.0','
',236,112,8733,0.0,'fdee430d40bd57deeac1/2026-11-30/plalrzgN3ecC72cw.png',1,1.79605097272019338609e+09);
CREATE TABLE settings (
        name  TEXT PRIMARY KEY,
        value TEXT NOT NULL                 -- JSON
    ) WITHOUT ROWID;
INSERT INTO "settings" VALUES('guest_quota_mb','123');
INSERT INTO "settings" VALUES('queue_limit','17');
INSERT INTO "settings" VALUES('save_metadata','true');
CREATE TABLE subjects (                 -- sets of photos to learn from
        number  INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of arrival
        id      TEXT NOT NULL UNIQUE,
        owner   TEXT NOT NULL,
        bytes   INTEGER NOT NULL DEFAULT 0, -- of the photos in subjects/<id>/
        created REAL NOT NULL               -- seconds since 1970
    );
INSERT INTO "subjects" VALUES(1,'90935166746783ce7a5befbcd5ef5646','ada',11042,1.79605042981516575817e+09);
INSERT INTO "subjects" VALUES(2,'ffc45f599616864ddd940131844ab3e9','bob',11440,1.79605043006482195848e+09);
CREATE INDEX jobs_by_owner ON jobs (owner, number);
CREATE INDEX jobs_by_service ON jobs (owner, served);
CREATE INDEX jobs_by_state ON jobs (state, number);
CREATE INDEX jobs_by_start ON jobs (served);
CREATE INDEX pictures_by_owner ON pictures (owner, number);
CREATE INDEX inputs_by_owner ON inputs (owner, number);
CREATE INDEX subjects_by_owner ON subjects (owner, number);
CREATE INDEX conversations_by_owner ON conversations (owner, lane, updated, number);
CREATE INDEX conversations_by_group ON conversations (group_id, lane);
CREATE INDEX chat_messages_by_parent ON chat_messages (conversation, parent, number);
CREATE INDEX chat_messages_streaming ON chat_messages (state) WHERE state = 'streaming';
CREATE INDEX chat_pieces_by_message ON chat_pieces (message, number);
CREATE INDEX cluster_tables_by_owner ON cluster_tables (owner, created);
CREATE INDEX cluster_data_by_owner ON cluster_data (owner, created);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('conversations',4);
INSERT INTO "sqlite_sequence" VALUES('chat_messages',8);
INSERT INTO "sqlite_sequence" VALUES('api_keys',2);
INSERT INTO "sqlite_sequence" VALUES('inputs',3);
INSERT INTO "sqlite_sequence" VALUES('cluster_data',4);
INSERT INTO "sqlite_sequence" VALUES('cluster_tables',1);
INSERT INTO "sqlite_sequence" VALUES('subjects',2);
INSERT INTO "sqlite_sequence" VALUES('jobs',26);
INSERT INTO "sqlite_sequence" VALUES('pictures',14);
COMMIT;
PRAGMA user_version = 6;
