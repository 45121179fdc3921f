"""The quiz questions' answers, each with its reason. The questions stand in the exercises of the lessons."""

from helpers import checks

ANSWERS = {  # question -> the right option, and what to say to each
    "01-1": (
        "b",
        {
            "a": "The photographs are not even needed any more. What did the training change?",
            "b": "The weights hold what was learned. The photographs they were learned from are not needed any more.",
            "c": "The classes of the source are thrown away with the old last layer. What lies before it?",
            "d": "Layers without their weights are the control with random weights. How did that do in the lesson?",
        },
    ),
    "01-2": (
        "a",
        {
            "a": "It costs least, it cannot spoil the pretrained weights, and it is what anything more must beat.",
            "b": "That is millions of weights for fifty photographs: possible, but not the first thing to try.",
            "c": "Fifty photographs do not teach a network to see: look at the lowest curve of the lesson.",
            "d": "A frozen backbone needs few photographs, for only the last layer is fitted. Try before you wait.",
        },
    ),
    "01-3": (
        "c",
        {
            "a": "The photographs stay as they are: it works on the maps that the backbone returns.",
            "b": "No weight is learned in it: it is a mean.",
            "c": "One number per channel is left, and a cat in a corner gives nearly the same as one in the middle.",
            "d": "That is scaling, which comes first, on pixels; this works on maps.",
        },
    ),
    "01-4": (
        "d",
        {
            "a": "That the interval holds zero proves no equality: a difference of a few points may still be there.",
            "b": "The mean lies above zero, but so would it in many experiments with two equal methods.",
            "c": "An interval across zero is a result: so many photographs cannot tell the two apart.",
            "d": "The photographs do not decide it. More of them, or more draws, would make the interval narrower.",
        },
    ),
    "02-1": (
        "b",
        {
            "a": "Its thousand classes are not your ten, so its last layer is of no use to you.",
            "b": "It stops before the old decision, and leaves the new one to a layer of yours.",
            "c": "Random weights are the control of the lesson, not a thing to download.",
            "d": "A detector returns boxes, and your labels have none.",
        },
    ),
    "02-2": (
        "c",
        {
            "a": "The head sees features only, and they are poor where the pixels were 255 times too large.",
            "b": "Keras would say so. This mistake raises no error.",
            "c": "The network gets 255 times what it knows. Nothing complains, and the features mean little.",
            "d": "More epochs train a last layer on features that mean little.",
        },
    ),
    "02-3": (
        "a",
        {
            "a": "Each choice made on the test set fits it a little better than new photographs.",
            "b": "It costs a second. The trouble is what the number means afterwards.",
            "c": "No weight has seen them, but the choice has: the best of ten was chosen by these photographs.",
            "d": "Each model was measured alike, and still the largest of ten numbers is too large.",
        },
    ),
    "02-4": (
        "d",
        {
            "a": "A probe stands on pretrained features too: it compares two ways to fit the last layer.",
            "b": "It has other layers and other weights, so it cannot tell which of the two matters.",
            "c": "It says when to stop, not why the result is good.",
            "d": "Everything else is the same in both, so the weights make the difference.",
        },
    ),
    "03-1": (
        "c",
        {
            "a": "It would not forget its rate. What was it told to train?",
            "b": "The loss is the same in both phases.",
            "c": "Without it, training goes on with the weights that were trainable before, and says nothing.",
            "d": "Compiling takes no time to speak of; it is what you change that has to be told.",
        },
    ),
    "03-2": (
        "b",
        {
            "a": "A digit turned by 2 degrees is the same digit.",
            "b": "A 6 turned over is a 9: the copy would carry a wrong label.",
            "c": "Brightness leaves a digit what it is, within reason.",
            "d": "A small shift leaves a digit what it is.",
        },
    ),
    "03-3": (
        "d",
        {
            "a": "Underfitting shows as a training loss that stays high.",
            "b": "A rate that is too high shows as a loss that jumps, training included.",
            "c": "A larger validation set makes its curve smoother, no more.",
            "d": "It learns its training photographs by heart: keep the weights of the lowest validation loss.",
        },
    ),
    "03-4": (
        "a",
        {
            "a": "More photographs are called dogs: more dogs are found, and more cats are called dogs.",
            "b": "A lower threshold is easier to pass: more photographs are called dogs, not fewer.",
            "c": "Cats pass a lower threshold more easily too.",
            "d": "No weight changes, so the order of the photographs and the area stay as they are.",
        },
    ),
    "04-1": (
        "b",
        {
            "a": "It costs some epochs, and little accuracy: look at the first row of the lesson's sweep.",
            "b": "It can undo what was pretrained, within the first steps. So err on the low side.",
            "c": "The lesson's three rates were not alike on both sides of the best one. Compare them again.",
            "d": "Adam scales its steps by the gradients, but the rate still says how large they are.",
        },
    ),
    "04-2": (
        "d",
        {
            "a": "Scale and shift are two numbers per channel, which is little. What else does the layer hold?",
            "b": "The layer standardises its own input. With which numbers in training, and in validation?",
            "c": "In validation each picture is judged by itself. Which mean and variance are used there?",
            "d": "Few steps leave the old running numbers: trained with one set, judged with another.",
        },
    ),
    "04-3": (
        "a",
        {
            "a": "So copies are drawn beforehand, and the activations of each copy are kept.",
            "b": "A mirrored picture has other activations, and these were not kept unless it was drawn beforehand.",
            "c": "A turned picture has other activations: the lower part would have to run again.",
            "d": "A brighter picture has other activations: the lower part would have to run again.",
        },
    ),
    "04-4": (
        "c",
        {
            "a": "Look at the picture before you blame the label. The number does not tell.",
            "b": "It says nothing about where the picture comes from.",
            "c": "Look at the worst mistakes, and calibrate before you trust such a number.",
            "d": "More epochs make it surer still, of right answers and of wrong ones.",
        },
    ),
    "05-1": (
        "c",
        {
            "a": "Try it and count the trainable weights: the network's own switch has the last word.",
            "b": "BatchNormalization makes no difference here. Try it, and count the trainable weights.",
            "c": "A frozen network by itself offers the optimizer nothing. First the network, then its layers.",
            "d": "Setting a layer does not set the network. Count the trainable weights.",
        },
    ),
    "05-2": (
        "a",
        {
            "a": "The loss takes logits for probabilities. Tell it from_logits=True, or add a softmax.",
            "b": "Keras changes no layer of yours: loss and layer have to agree by your care.",
            "c": "The shapes fit, so nothing stops it.",
            "d": "A logit may be any number, below 0 and above 1.",
        },
    ),
    "05-3": (
        "d",
        {
            "a": "It learns the studio better still. What does the shop look like?",
            "b": "The data are the problem, and a larger network sees the same data.",
            "c": "In the lesson that gained little, for a changed studio picture is still a studio picture.",
            "d": "In the lesson that gained more than any remedy without labels, and nothing else can test it.",
        },
    ),
    "05-4": (
        "b",
        {
            "a": "Then most patients are in both parts, and the test asks whether the model knows the patient again.",
            "b": "The model will be used for new patients, so the test has to be about new patients.",
            "c": "The date of a file says little about who is in the picture.",
            "d": "Each patient would be in both parts: that is the leakage of Fruits-360.",
        },
    ),
    "06-1": (
        "a",
        {
            "a": "The test would ask for what was learned by heart, and the accuracy would flatter.",
            "b": "That is as it should be: it counts as one scene.",
            "c": "That is as it should be, though it makes the test a little narrower.",
            "d": "Two scenes in the same part do no harm.",
        },
    ),
    "06-2": (
        "d",
        {
            "a": "Calibrated means that of those with 90 % about 90 % are right.",
            "b": "Underconfident means that more are right than it says.",
            "c": "Perhaps, but these numbers do not say so: what do 90 and 70 compare?",
            "d": "It says 90 % and is right in 70 %: on a reliability diagram, a point below the diagonal.",
        },
    ),
    "06-3": (
        "b",
        {
            "a": "It is right here, for a reason that need not hold elsewhere.",
            "b": "It has learned the tag, which tells carrots from others in this shop only.",
            "c": "More epochs on the same photographs teach the same tag.",
            "d": "It shows which places raised the score. Would the answer change without the tag?",
        },
    ),
    "06-4": (
        "c",
        {
            "a": "It has no such output: its probabilities always add up to 1 over its classes.",
            "b": "Pixels are pixels, so nothing stops it.",
            "c": "It knows its classes and nothing else. Tell the people who use it.",
            "d": "It may be unsure, but nothing makes it so.",
        },
    ),
}  # fmt: skip


@checks.check
def check_quiz(answer, *, question: str) -> str:
    """A letter, against the table of answers."""
    right, reasons = ANSWERS[question]
    letter = str(answer).strip(" .()").lower()
    if letter not in reasons:
        checks.wrong(f"Type one of the letters {', '.join(reasons)} between quotation marks.")
    if letter != right:
        checks.wrong(reasons[letter])
    return reasons[letter]
