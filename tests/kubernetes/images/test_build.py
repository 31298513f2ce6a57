from pathlib import Path

from images.build import Recipe, arguments, replaced

RECIPE = Recipe("localhost/thing:test", Path("/checkout/thing/Dockerfile"), Path("/checkout"))


def test_a_build_takes_its_base_from_the_store_and_every_step_that_it_can() -> None:
    assert arguments(RECIPE, {}) == (
        "build",
        "--layers",
        "--pull-never",
        "--file=/checkout/thing/Dockerfile",
        "--tag=localhost/thing:test",
        "/checkout",
    )


def test_certificates_of_the_environment_are_lent_to_the_build() -> None:
    lent = set(arguments(RECIPE, {"SSL_CERT_FILE": "/etc/ssl/ours.pem"})) - set(arguments(RECIPE, {}))

    assert lent == {
        "--secret=id=ca,src=/etc/ssl/ours.pem",
        "--build-arg=PIP_CERT=/run/secrets/ca",
        "--build-arg=SSL_CERT_FILE=/run/secrets/ca",
    }


def test_what_no_build_took_a_step_from_is_removed_unless_it_has_a_name() -> None:
    images = {"aa11": ("debian:bookworm-slim",), "bb22": (), "cc33": (), "dd44": ()}

    assert replaced(images, {"bb", "dd44"}) == ["cc33"]
